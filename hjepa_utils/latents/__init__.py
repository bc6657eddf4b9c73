"""From video files to latents and windows of them."""
