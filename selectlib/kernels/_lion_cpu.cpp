// One step of Lion over many tensors in one pass over memory. Compiled when first asked for, without torch's headers.

#include <algorithm>
#include <cstdint>
#include <cstring>

using std::int64_t;
using std::uint16_t;
using std::uint32_t;

namespace {

constexpr int64_t GRAIN = 32768;  // entries that are worth a thread, as in torch

struct BFloat16 {
    uint16_t bits;
};

struct Row {  // of the table that Python fills
    int64_t param, grad, momentum, count, kind;  // addresses; bits 0, 1, 2 of `kind`: which of the three are bfloat16
};

struct Average {  // old + weight * (grad - old), or from the other end, grad + weight * (grad - old)
    float weight, from_old;
};

struct Step {
    float lr, decay, scale;
    Average update, momentum;
};

inline float widen(float value) { return value; }

inline float widen(BFloat16 half) {
    const uint32_t bits = uint32_t(half.bits) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline void narrow(float value, float& into) { into = value; }

inline void narrow(float value, BFloat16& into) {  // to the nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
    into.bits = (bits & 0x7FFFFFFF) <= 0x7F800000 ? rounded : 0x7FC0;
}

inline float average(float old, float grad, Average how) {
    return (how.from_old != 0 ? old : grad) + how.weight * (grad - old);
}

template <class Param, class Grad, class Momentum>
void update(const Row& row, int64_t start, int64_t stop, const Step& step) {
    Param* p = reinterpret_cast<Param*>(row.param);
    const Grad* g = reinterpret_cast<const Grad*>(row.grad);
    Momentum* m = reinterpret_cast<Momentum*>(row.momentum);
    const Step s = step;
#pragma omp simd
    for (int64_t i = start; i < stop; i++) {
        const float grad = widen(g[i]) * s.scale, old = widen(m[i]);
        const float c = average(old, grad, s.update);
        const float sign = float(c > 0) - float(c < 0);  // 0 for NaN
        narrow(widen(p[i]) * s.decay - s.lr * sign, p[i]);
        narrow(average(old, grad, s.momentum), m[i]);
    }
}

constexpr decltype(&update<float, float, float>) UPDATES[] = {
    update<float, float, float>,    update<BFloat16, float, float>,    update<float, BFloat16, float>,
    update<BFloat16, BFloat16, float>, update<float, float, BFloat16>, update<BFloat16, float, BFloat16>,
    update<float, BFloat16, BFloat16>, update<BFloat16, BFloat16, BFloat16>,
};

}  // namespace

extern "C" void lion_step(const Row* rows, int64_t tensors, int threads, const Step* step) {
    int64_t total = 0;
    for (int64_t t = 0; t < tensors; t++) total += rows[t].count;
    const int64_t parts = std::clamp<int64_t>(total / GRAIN, 1, threads);
#pragma omp parallel for num_threads(parts) if (parts > 1)
    for (int64_t part = 0; part < parts; part++) {
        // Entries from `first` to `last` of all tensors laid end to end.
        const int64_t first = total * part / parts, last = total * (part + 1) / parts;
        int64_t before = 0;
        for (int64_t t = 0; t < tensors; before += rows[t++].count) {
            const int64_t start = std::max<int64_t>(first - before, 0), stop = std::min(last - before, rows[t].count);
            if (start < stop) UPDATES[rows[t].kind](rows[t], start, stop, *step);
        }
    }
}
