"""The Modelward server: the rules, the statistics and the stores behind the contract."""
