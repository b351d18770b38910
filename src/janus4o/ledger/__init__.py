"""What was asked, what came back, what it cost: shared by synthesis and judging."""
