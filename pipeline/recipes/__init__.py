"""How the weights that ship with merc were made: data, training, measurements and model cards."""
