"""The folder that nnU-Net looks for trainers in."""
