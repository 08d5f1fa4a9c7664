"""Configurations of split learning with other parties than clients and one server (Vepakomma et al. 2018; Thapa et al. 2022)."""
