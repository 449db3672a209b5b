"""The node daemon: who may run what, for how long, and what is left of it afterwards. Started as its own process, never
imported by drivers."""
