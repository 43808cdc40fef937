/* Elementary functions: tn_<name>_f32 and tn_<name>_f64.
 *
 * The ones that training lives on are inlined in float (elementary.h). Declaring another one of libm with the simd
 * attribute lets a vectorised loop call glibc's libmvec (at most 4 ulp); where the C library is older or another one,
 * the plain function is called lane by lane.
 */
#ifndef TN_MATHLIB_H
#define TN_MATHLIB_H

#if defined(__GLIBC__) && defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TN_MVEC(glibc_minor) __GLIBC_PREREQ(2, glibc_minor)
#else
#define TN_MVEC(glibc_minor) 0
#endif

#define TN_SIMD __attribute__((simd("notinbranch")))
#define TN_DECLARE1(name)             \
    TN_SIMD double name(double);      \
    TN_SIMD float name##f(float);
#if TN_MVEC(22)
TN_DECLARE1(sin)
TN_DECLARE1(cos)
TN_DECLARE1(exp)
TN_DECLARE1(log)
TN_SIMD double pow(double, double);
TN_SIMD float powf(float, float);
#endif
#if TN_MVEC(35)
TN_DECLARE1(acos)
TN_DECLARE1(acosh)
TN_DECLARE1(asin)
TN_DECLARE1(asinh)
TN_DECLARE1(atan)
TN_DECLARE1(atanh)
TN_DECLARE1(cbrt)
TN_DECLARE1(cosh)
TN_DECLARE1(erf)
TN_DECLARE1(erfc)
TN_DECLARE1(exp2)
TN_DECLARE1(expm1)
TN_DECLARE1(log10)
TN_DECLARE1(log1p)
TN_DECLARE1(log2)
TN_DECLARE1(sinh)
TN_DECLARE1(tan)
TN_DECLARE1(tanh)
TN_SIMD double atan2(double, double);
TN_SIMD float atan2f(float, float);
TN_SIMD double hypot(double, double);
TN_SIMD float hypotf(float, float);
#endif
#undef TN_DECLARE1
#undef TN_SIMD

#define TN_MATH1(name)                                              \
    TN_INLINE float tn_##name##_f32(float x) { return name##f(x); } \
    TN_INLINE double tn_##name##_f64(double x) { return name(x); }
#define TN_MATH2(name)                                                          \
    TN_INLINE float tn_##name##_f32(float x, float y) { return name##f(x, y); } \
    TN_INLINE double tn_##name##_f64(double x, double y) { return name(x, y); }
TN_MATH1(acos)
TN_MATH1(acosh)
TN_MATH1(asin)
TN_MATH1(asinh)
TN_MATH1(atan)
TN_MATH1(atanh)
TN_MATH1(cbrt)
TN_MATH1(ceil)
TN_MATH1(cos)
TN_MATH1(cosh)
TN_MATH1(erfc)
TN_MATH1(expm1)
TN_MATH1(fabs)
TN_MATH1(floor)
TN_MATH1(lgamma)
TN_MATH1(log10)
TN_MATH1(log1p)
TN_MATH1(nearbyint)
TN_MATH1(rint)
TN_MATH1(round)
TN_MATH1(sin)
TN_MATH1(sinh)
TN_MATH1(sqrt)
TN_MATH1(tan)
TN_MATH1(tgamma)
TN_MATH1(trunc)
TN_MATH2(atan2)
TN_MATH2(copysign)
TN_MATH2(fdim)
TN_MATH2(fmod)
TN_MATH2(hypot)
TN_MATH2(nextafter)
TN_MATH2(pow)
TN_MATH2(remainder)
#undef TN_MATH1
#undef TN_MATH2

#include "elementary.h"
TN_INLINE double tn_erf_f64(double x) { return erf(x); }
TN_INLINE double tn_exp_f64(double x) { return exp(x); }
TN_INLINE double tn_exp2_f64(double x) { return exp2(x); }
TN_INLINE double tn_log_f64(double x) { return log(x); }
TN_INLINE double tn_log2_f64(double x) { return log2(x); }
TN_INLINE double tn_tanh_f64(double x) { return tanh(x); }

TN_INLINE float tn_fma_f32(float x, float y, float z) { return fmaf(x, y, z); }
TN_INLINE double tn_fma_f64(double x, double y, double z) { return fma(x, y, z); }
TN_INLINE float tn_rsqrt_f32(float x) { return 1.0f / sqrtf(x); }
TN_INLINE double tn_rsqrt_f64(double x) { return 1.0 / sqrt(x); }
TN_INLINE float tn_exp10_f32(float x) { return powf(10.0f, x); }
TN_INLINE double tn_exp10_f64(double x) { return pow(10.0, x); }
TN_INLINE float tn_ldexp_f32(float x, int32_t n) { return ldexpf(x, n); }
TN_INLINE double tn_ldexp_f64(double x, int32_t n) { return ldexp(x, n); }
TN_INLINE float tn_powi_f32(float x, int32_t n) { return powf(x, (float)n); }
TN_INLINE double tn_powi_f64(double x, int32_t n) { return pow(x, (double)n); }

#endif
