from . import serve as serve, site as site
