"""Generators of Toy Physics videos: MoCoGAN, HNN-GAN, HGAN and HGN, and what their videos are judged by."""
