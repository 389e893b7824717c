"""A/B tests of versions on live traffic: their outcomes, results and conclusions."""
