"""Durable state: the log, what it makes of jobs and queues, and the engines that keep them."""
