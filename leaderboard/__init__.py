"""The board: submissions, how they are verified and ranked, and the pages that show them."""
