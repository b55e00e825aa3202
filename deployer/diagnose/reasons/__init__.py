"""From symptoms to causes, as far as the outside shows them."""
