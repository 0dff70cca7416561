"""What training leaves behind: checkpoints, metrics, pictures. The ground floor; it imports nothing of ours."""
