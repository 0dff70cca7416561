"""One torch thread: two test processes with a thread a core each wait for one another."""

import torch

torch.set_num_threads(1)
