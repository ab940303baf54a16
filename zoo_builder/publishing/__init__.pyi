from .card import NOWHERE as NOWHERE
from .download import Fetched as Fetched, fetch as fetch, load_checkpoint as load_checkpoint
from .hub import upload as upload
from .publication import preview as preview, publish as publish
