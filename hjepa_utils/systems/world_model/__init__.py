"""A Hamiltonian world model: pictures to phase space, driven and damped dynamics, pictures again, plans."""
