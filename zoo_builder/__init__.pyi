from .publishing import load_checkpoint as load_checkpoint
