"""Reports as HTML pages and pictures; this package contains what all of them share."""
