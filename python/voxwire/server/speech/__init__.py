"""From text to audio: buffering, sentences, markup, synthesis, and the context that joins them."""
