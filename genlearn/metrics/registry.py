"""The metrics by name, in the order in which tables show them, with what a reader should know about each."""

from __future__ import annotations

from .auc import two_sample_auc
from .base import Metric
from .copies import copies
from .coverage import coverage, density
from .frechet import frechet
from .groups import group_shares
from .intervals import mean_of
from .kid import kid
from .latent import active_units, kl, posterior_auc
from .nats import nats
from .pairs import pairs
from .shapes import shapes
from .useful import useful_classes
from .validity import validity
from .variance import variance_ratio

ANY: frozenset[str] = frozenset()
TABLE = frozenset({"table"})
LATENT = frozenset({"latent"})

_ALL = (
    Metric(
        "nats",
        "nats/record",
        "How probable are held-out records under the model?",
        "higher",
        frozenset({"scores"}),
        "The mean log density of test records, in nats and in the units of the data. "
        "Compare it only between models with the same measure and the same kind (exact, bound, estimate).",
        nats,
    ),
    Metric(
        "auc",
        "two-sample AUC",
        "Can a classifier tell generated from real records?",
        "lower",
        ANY,
        "A classifier that has seen other records guesses which of a real and a generated one is real; this is how often it is right. "
        "0.5 means it cannot tell, 1 means it always can; the mean over two feature spaces.",
        mean_of,
    ),
    Metric(
        "auc_a",
        "AUC in space A",
        "Can a classifier tell, on features that were not learned?",
        "lower",
        ANY,
        "The two-sample AUC on standardised columns or on random convolutions. "
        "No training went into these features, so no model can be tuned to them.",
        two_sample_auc,
    ),
    Metric(
        "auc_b",
        "AUC in space B",
        "Can a classifier tell, on features learned from the training part?",
        "lower",
        ANY,
        "The two-sample AUC on features that matter for the label, for rotations, or on ranks. "
        "Where it contradicts space A, neither number should be trusted alone.",
        two_sample_auc,
    ),
    Metric(
        "kid_a",
        "KID in space A",
        "Do generated and real records lie alike in feature space?",
        "lower",
        ANY,
        "The squared maximum mean discrepancy with a cubic kernel: 0 for equal distributions, and unbiased, so it may fall below 0. "
        "Its size depends on the data set: compare models, not data sets.",
        kid,
    ),
    Metric(
        "kid_b",
        "KID in space B",
        "Do they lie alike in features learned from the training part?",
        "lower",
        ANY,
        "The squared maximum mean discrepancy with a cubic kernel, on learned features. "
        "0 for equal distributions; compare models, not data sets.",
        kid,
    ),
    Metric(
        "coverage",
        "coverage",
        "Is every kind of real record generated?",
        "higher",
        ANY,
        "The share of real records with a generated one closer than their fifth nearest real record. "
        "A perfect model reaches about 0.97; one that forgets groups falls below, one that is slightly too narrow can rise above.",
        coverage,
    ),
    Metric(
        "density",
        "density",
        "Do generated records lie where real ones are dense?",
        "higher",
        ANY,
        "How many neighbourhoods of real records a generated one falls into, relative to a real one: about 1 for a perfect model. "
        "Above 1 the model stays in the middle of the data, and a high coverage then proves nothing.",
        density,
    ),
    Metric(
        "variance",
        "variance ratio",
        "Do generated records vary as much as real ones?",
        "higher",
        ANY,
        "The variance of generated records over that of real ones, summed over the columns of space A: 1 for a perfect model. "
        "Below 1 the model is too narrow, above 1 too wide.",
        variance_ratio,
    ),
    Metric(
        "groups",
        "group shares",
        "Does every kind of record come in its share?",
        "lower",
        ANY,
        "Real and generated records are sorted into groups of like ones, which should hold as many of either. 0 is best; "
        "a kind of record that is never generated adds its share, 0.1 for one of ten.",
        group_shares,
    ),
    Metric(
        "useful",
        "useful",
        "Are generated records good to learn from?",
        "higher",
        frozenset({"labels"}),
        "A classifier (or regression) learns the target from generated records only and is tested on real ones. "
        "The real-data row shows what the same number of real records teaches.",
        useful_classes,
    ),
    Metric(
        "shapes",
        "column shapes",
        "Does every column, taken alone, look right?",
        "higher",
        TABLE,
        "One minus the largest gap between distribution functions (numbers) or half the summed frequency gaps (categories), averaged. "
        "Columns drawn independently score near 1 as well, so never read it alone.",
        shapes,
    ),
    Metric(
        "pairs",
        "pair trends",
        "Do the columns go together as they should?",
        "higher",
        TABLE,
        "How alike correlations and joint frequencies are for every pair of columns, averaged. "
        "Columns drawn independently lose here.",
        pairs,
    ),
    Metric(
        "validity",
        "validity",
        "Could every generated row be real, cell by cell?",
        "higher",
        TABLE,
        "The share of rows whose every cell lies within the range or among the levels of the training part. "
        "New real data reaches slightly less than 1.",
        validity,
    ),
    Metric(
        "frechet_a",
        "Frechet distance",
        "How far apart are the two clouds of features, as Gaussians?",
        "lower",
        ANY,
        "The distance between means and covariances in space A: like FID, but not comparable with published ones. "
        "It is biased at small samples and decides nothing here.",
        frechet,
    ),
    Metric(
        "copies",
        "copies",
        "Does the model hand out its training records?",
        "lower",
        ANY,
        "Counts generated records that lie nearer to a training record than held-out records do, and exact duplicates. "
        "Flagged where chance would do that less than once in a hundred times.",
        copies,
    ),
    Metric(
        "active_units",
        "active units",
        "How many latent dimensions does the model use?",
        "higher",
        LATENT,
        "Latent dimensions whose posterior mean varies from record to record (variance above 0.01). "
        "Zero means that the decoder ignores the latent code.",
        active_units,
    ),
    Metric(
        "kl",
        "KL (nats)",
        "How much passes through the latent space?",
        "higher",
        LATENT,
        "Nats per record by which the posterior differs from the prior, summed over dimensions. "
        "Near zero the latent space is unused; it has no best value.",
        kl,
    ),
    Metric(
        "posterior_auc",
        "posterior-against-prior AUC",
        "Does the latent space look like its prior?",
        "lower",
        LATENT,
        "How well a classifier tells latent codes of real records from draws of the prior. "
        "Far above 0.5, sampling feeds the decoder codes that it never met in training.",
        posterior_auc,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
