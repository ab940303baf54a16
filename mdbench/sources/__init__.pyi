from .modeldiagnosis import read_clone as read_clone
