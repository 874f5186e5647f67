"""One direction for several task gradients: FairGrad and its relatives."""
