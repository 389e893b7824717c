"""What proves to an auditor that the registry stands as its record says."""
