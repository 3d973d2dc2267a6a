"""What a method of your own is tested with: the contract, planted worlds, and made runs."""
