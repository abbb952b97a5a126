"""Answers an SMT-LIB file as solvers do, by cvc5 with bit vectors as integers: products and quotients of 256 bits take it
milliseconds, where solvers that look at single bits take hours. halmos runs it for the proofs that name it."""

import sys

import cvc5

SECONDS = 60

terms = cvc5.TermManager()
solver = cvc5.Solver(terms)
solver.setOption("solve-bv-as-int", "iand")
solver.setOption("tlimit-per", str(SECONDS * 1000))
parser = cvc5.InputParser(solver)
parser.setFileInput(cvc5.InputLanguage.SMT_LIB_2_6, sys.argv[1])
symbols = parser.getSymbolManager()
# The logic that halmos names has no integers.
solver.setOption("produce-models", "true")
while not (command := parser.nextCommand()).isNull():
    if command.getCommandName() != "set-logic":
        print(command.invoke(solver, symbols), end="")
