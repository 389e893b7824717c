"""The pages: each module fetches what its page shows, and builds its view."""
