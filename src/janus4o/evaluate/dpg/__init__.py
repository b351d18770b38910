"""DPG-Bench: yes-or-no questions about dense prompts, where a missing thing takes its details with it."""
