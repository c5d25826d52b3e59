"""Train the net on scikit-learn's pictures of digits, and lay its data out for the recipe.

    pip install scikit-learn
    python examples/digits/digits_train.py

Writes beside itself: ``data/weights.pt``; ``data/calibration/``, some of the pictures that it was trained
on; ``data/held_out.npz``, pictures that neither the training nor the calibration has seen, and
``data/held_out_labels.npy``, what is on them. The package has 1,797 pictures in it, so nothing is downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from digits_net import DigitsNet
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

DATA = Path(__file__).parent / "data"
HELD_OUT = 450
BATCH = 32  # pictures in a file of the calibration, and in a step of the training
CALIBRATION = 8  # files
EPOCHS = 12


def main() -> int:
    images, labels = pictures()
    torch.manual_seed(0)
    net = DigitsNet()
    train(net, torch.from_numpy(images[HELD_OUT:]), torch.from_numpy(labels[HELD_OUT:]))
    with torch.no_grad():
        right = net(torch.from_numpy(images[:HELD_OUT])).argmax(-1).numpy() == labels[:HELD_OUT]
    (DATA / "calibration").mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), DATA / "weights.pt")
    np.savez(DATA / "held_out.npz", image=images[:HELD_OUT])
    np.save(DATA / "held_out_labels.npy", labels[:HELD_OUT])
    for number in range(CALIBRATION):
        first = HELD_OUT + number * BATCH
        np.savez(DATA / f"calibration/{number}.npz", image=images[first : first + BATCH])
    print(f"{right.mean():.2%} of {HELD_OUT} held-out pictures are told right")
    return 0


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """All of them in an order of chance, values from 0 to 1, and the digit on each."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    return (found.images[order, None] / 16).astype(np.float32), found.target[order].astype(np.int64)


def train(net: DigitsNet, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Some seconds on one core; the same weights each time on one machine."""
    torch.set_num_threads(1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    net.eval()


if __name__ == "__main__":
    sys.exit(main())
