"""What tests need: virtual time, faults, a simulation, and the exam that every store sits.

For users and for Bide itself. The product never imports it.
"""
