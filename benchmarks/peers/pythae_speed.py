"""Steps per second of pythae's own trainer on an MLP VAE; runs in pythae's environment. Prints one JSON line."""

from __future__ import annotations

import json
import sys
import tempfile
import time

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig


class Encoder(BaseEncoder):
    """784-400-(20, 20)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(784, 400)
        self.mean = torch.nn.Linear(400, config.latent_dim)
        self.log_var = torch.nn.Linear(400, config.latent_dim)

    def forward(self, x: torch.Tensor) -> ModelOutput:
        h = torch.relu(self.hidden(x.flatten(1)))
        return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
    """20-400-784."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(config.latent_dim, 400), torch.nn.ReLU(), torch.nn.Linear(400, 784), torch.nn.Sigmoid()
        )

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.net(z).view(-1, 1, 28, 28))


def main(path: str, epochs: int) -> None:
    """Train `epochs` epochs at batch 128 and print records and steps per second."""
    x = np.load(path)["train"].astype(np.float32)[:, None]
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=20, reconstruction_loss="bce")
    model = VAE(config, encoder=Encoder(config), decoder=Decoder(config))
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(
            output_dir=folder, num_epochs=epochs, per_device_train_batch_size=128, learning_rate=1e-3,
            optimizer_cls="Adam", no_cuda=True, steps_saving=None,
        )  # fmt: skip
        data = BaseDataset(torch.from_numpy(x), torch.ones(len(x)))
        trainer = BaseTrainer(model=model, train_dataset=data, training_config=training)
        begun = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begun
    steps = epochs * -(-len(x) // 128)
    print(json.dumps({"seconds": seconds, "steps_per_second": steps / seconds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
