"""What is proven on the whole program, for minutes or an hour each. Not tests: figures are of one machine.

soak        `make soak`: annotators at work while parts fail (`outages`); `speed`, both ways, in `turns`
cycles      `make cycles`: the cycle on real cases, each plan by `cycle` in a database of its own
chaos       `make chaos`: processes die while the loop turns; `rollback` under load first
annotators  people who answer in Label Studio
counts      what must not be there afterwards
"""
