"""Any Gymnasium environment, single or vector, as one batch of slots that never stops."""
