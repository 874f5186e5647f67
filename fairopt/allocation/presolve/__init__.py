"""What happens before a method runs: units go, redundant links and identical routes become one."""
