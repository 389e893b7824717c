"""Code that the client and the server share. It is not part of the public interface."""
