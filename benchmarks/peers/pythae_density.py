"""Train pythae's VAE 784-400-(40, 40)-400-784 on static MNIST for some minutes and save its weights; runs in pythae's environment.

    python pythae_density.py binarized_mnist.npz MINUTES weights.npz

Prints one JSON line: training seconds, passes, records per second.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae_speed import Decoder, Encoder

LATENT = 40


def train(model: VAE, x: np.ndarray, epochs: int) -> float:
    """Train for some passes at batch 128 with pythae's trainer and a cosine step size; return the seconds."""
    data = BaseDataset(torch.from_numpy(x), torch.ones(len(x)))
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(
            output_dir=folder, num_epochs=epochs, per_device_train_batch_size=128, learning_rate=1e-3, optimizer_cls="Adam",
            scheduler_cls="CosineAnnealingLR", scheduler_params={"T_max": epochs}, no_cuda=True, steps_saving=None,
        )  # fmt: skip
        trainer = BaseTrainer(model=model, train_dataset=data, training_config=training)
        begun = time.perf_counter()
        trainer.train()
        return time.perf_counter() - begun


def fresh() -> VAE:
    """Return the net, not trained."""
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(config), decoder=Decoder(config))


def main(path: str, minutes: float, out: str) -> None:
    """Measure a pass, train as many as fit into the minutes, save the weights."""
    torch.manual_seed(0)
    x = np.load(path)["train"].astype(np.float32)[:, None]
    each = train(fresh(), x, 2) / 2
    epochs = max(1, int(60 * minutes / each))
    model = fresh()
    seconds = train(model, x, epochs)
    state = {k: v.numpy() for k, v in model.state_dict().items()}
    np.savez(out, **state)
    print(json.dumps({"seconds": seconds, "passes": epochs, "records_per_second": epochs * len(x) / seconds}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
