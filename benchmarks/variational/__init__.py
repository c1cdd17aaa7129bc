"""The variational family beside published figures and peers: `python -m benchmarks.variational [PART ...]`."""

PARTS: tuple[str, ...] = (
    "dynamic",
    "static",
    "pythae",
    "latent",
    "factors",
    "labels",
    "compression",
    "inpainting",
    "tables",
    "speed",
    "bounds",
)
