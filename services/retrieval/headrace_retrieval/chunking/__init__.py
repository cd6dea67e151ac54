"""Cutting documents into passages whose spans are exact."""
