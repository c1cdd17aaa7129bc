"""What a training run is made of: batches, optimizers, history, checkpoints. Nothing here knows a model; `engine.py` plays it."""
