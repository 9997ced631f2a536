"""Reading what DATA names, a module for each form that data come in; and writing samples in the same form."""
