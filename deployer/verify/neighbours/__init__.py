"""Whether a change to a host broke what its proxies serve for others: the same requests twice.

model.py     a request, and the answer to it
requests.py  which requests a host gets, from the names that its proxies serve (pure)
asking.py    makes them, all at the same time, within a time limit
verdict.py   compares the answers from before the change with those after it (pure)
"""
