"""Prints coefficients.h: the approximations of math-inl.h, and their errors, from 60-digit arithmetic.

python src/kernels/coefficients.py > src/kernels/coefficients.h
"""

import struct

import mpmath as m
from mpmath import mpf

m.mp.dps = 60


def interpolate(function, end, numerator, denominator, start=0, centre=None):
    """P/Q through the Chebyshev nodes of [start, end], or of the image of it under (x - centre) / (x + centre).

    Near-minimax in relative error. Returns the coefficients, constant term first, and the largest relative error.
    """

    def forward(x):
        return x if centre is None else (x - centre) / (x + centre)

    def backward(u):
        return u if centre is None else centre * (1 + u) / (1 - u)

    left, right = forward(mpf(start)), forward(mpf(end))
    size = numerator + denominator + 1
    middle, radius = (left + right) / 2, (right - left) / 2
    matrix, values = m.matrix(size, size), m.matrix(size, 1)
    for i in range(size):
        x = backward(middle - radius * m.cos(m.pi * (2 * i + 1) / (2 * size)))
        values[i] = function(x)
        for j in range(numerator + 1):
            matrix[i, j] = x**j
        for j in range(1, denominator + 1):
            matrix[i, numerator + j] = -values[i] * x**j
    solution = m.lu_solve(matrix, values)
    top = [solution[j] for j in range(numerator + 1)]
    bottom = [mpf(1)] + [solution[numerator + j] for j in range(1, denominator + 1)]
    error = mpf(0)
    for i in range(2001):
        x = backward(middle - radius * m.cos(m.pi * i / 2000))
        quotient = m.polyval(top[::-1], x) / m.polyval(bottom[::-1], x)
        error = max(error, abs(quotient / function(x) - 1))
    return top, bottom, error


def exp_tail(r):
    """(exp(r) - 1 - r) / r^2."""
    return m.fsum(r**k / m.factorial(k + 2) for k in range(40))


def log1p_tail(x):
    """(x - log(1 + x)) / x^2."""
    return (x - m.log1p(x)) / x**2 if x > mpf(10) ** -15 else mpf(1) / 2 - x / 3


def scaled_normal_tail(t):
    """Phi(-t) exp(t^2 / 2)."""
    return m.erfc(t / m.sqrt(2)) * m.exp(t * t / 2) / 2


def tanhshrink_over_cube(s):
    """(x - tanh x) / x^3 as a function of s = x^2."""
    x = m.sqrt(s)
    return (x - m.tanh(x)) / x**3 if s > mpf(10) ** -20 else mpf(1) / 3 - 2 * s / 15


def single(x):
    return mpf(struct.unpack("f", struct.pack("f", float(x)))[0])


def double(x):
    return mpf(float(x))


def leading_bits(x, bits):
    scale = mpf(2) ** (bits - 1 - int(m.floor(m.log(x, 2))))
    return m.floor(x * scale) / scale


class Writer:
    """Writes the specialization of Coefficients for one type."""

    def __init__(self, name, round_to, digits, suffix):
        self.name, self.round_to, self.digits, self.suffix = (
            name,
            round_to,
            digits,
            suffix,
        )
        print(f"\ntemplate <>\nstruct Coefficients<{name}> {{")

    def number(self, x):
        text = m.nstr(x, self.digits, min_fixed=-4, max_fixed=8)
        return text + self.suffix

    def array(self, name, values):
        numbers = ", ".join(self.number(x) for x in values)
        print(
            f"  static constexpr std::array<{self.name}, {len(values)}> {name}{{{numbers}}};"
        )

    def split(self, name, x, bits):
        """x as a sum of two: the first of so few bits that what is made of it is exact."""
        high = leading_bits(x, bits)
        self.array(name, [high, self.round_to(x - high)])

    def rational(self, name, top, bottom, error):
        print(f"  // Relative error {m.nstr(error, 2)}.")
        self.array(f"k{name}Numerator", top)
        self.array(f"k{name}Denominator", bottom)


def write(name, round_to, digits, suffix, ln2_bits, sizes):
    writer = Writer(name, round_to, digits, suffix)
    tail, log1p, normal, shrink = sizes
    writer.split("kLn2", m.ln(2), ln2_bits)
    half = m.ln(2) / 2 * mpf("1.0001")
    top, _, error = interpolate(exp_tail, half, tail, 0, start=-half)
    print(f"  // Error relative to exp(r) {m.nstr(error * half**2 / 2, 2)}.")
    writer.array("kExpTail", top)
    writer.rational("Log1p", *interpolate(log1p_tail, 1, *log1p))
    writer.rational("NormalTail", *interpolate(scaled_normal_tail, *normal))
    writer.rational("Tanhshrink", *interpolate(tanhshrink_over_cube, 2, *shrink))
    rate = 2 * m.sqrt(2 / m.pi)
    cubic = rate * mpf("0.044715")
    writer.split("kGeluTanhRate", rate, ln2_bits + 4)
    high = round_to(cubic)
    writer.array("kGeluTanhCubic", [high, round_to(cubic - high)])
    print("};")


print("""// Written by coefficients.py; do not edit.
//
// With P and Q the polynomials of a pair Numerator, Denominator, constant term first:
//   ExpTail     exp(r) = 1 + r + r^2 P(r) for |r| <= ln 2 / 2
//   Log1p       log(1 + x) = x - x^2 P(x) / Q(x) for x in [0, 1]
//   NormalTail  Phi(-t) = exp(-t^2 / 2) P(t) / Q(t) for t >= 0, Phi the standard normal distribution function
//   Tanhshrink  x - tanh(x) = x^3 P(x^2) / Q(x^2) for |x| <= sqrt(2)
// Ln2, and the constants of gelu's approximation by tanh, are sums of two numbers.
#pragma once

#include <array>

namespace anact::kernels {

template <typename T>
struct Coefficients;""")
write("float", single, 9, "F", 16, (4, (2, 3), (mpf("13.3"), 4, 5, 0, 3), (1, 2)))
write("double", double, 17, "", 42, (10, (6, 7), (mpf("37.7"), 10, 11, 0, 4), (3, 4)))
print("\n}  // namespace anact::kernels")
