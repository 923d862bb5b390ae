// The k-means of `_class_lloyd.py`, class by class on the CPU: the rows of one class stay in the cache, with all its
// restarts. Compiled when first asked for, without torch's headers.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using std::int64_t;

namespace {

#ifdef __AVX512F__
constexpr int LANES = 16, WIDTH = 12;  // columns at once: two vectors of sums for each of them fill the registers
#else
constexpr int LANES = 8, WIDTH = 6;
#endif
constexpr int64_t TILE = 32;       // rows that lie side by side, coordinate by coordinate
constexpr double EQUAL = 1e-9;     // of restarts whose inertias differ relatively by less, the first is kept
constexpr float TINY = 0x1p-100f;  // more than what underflows

typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Lanes* lanes(float* at) { return reinterpret_cast<Lanes*>(at); }
inline const Lanes* lanes(const float* at) { return reinterpret_cast<const Lanes*>(at); }

struct Task {
    int64_t d, restarts, k, max_iter;
    double tol;
};

template <class Real>
struct Class {  // a row of the table that Python fills
    const Real* rows;       // (count, d)
    const int64_t* starts;  // (restarts, k), rows
    Real* centers;          // (k, d), to fill
    int64_t* labels;        // (count), to fill
    double* inertia;        // to fill
    int64_t count, clusters, pinned;
};

// |centre|^2 - 2 centre x for 2 LANES rows and W centres.
template <int W>
void score(const float* tile, const float* points, const float* norms, int64_t d, float* const* out) {
    Lanes low[W], high[W];
    for (int j = 0; j < W; ++j) low[j] = high[j] = Lanes{} + norms[j];
    for (int64_t t = 0; t < d; ++t) {
        const Lanes left = *lanes(tile + t * TILE), right = *lanes(tile + t * TILE + LANES);
#pragma GCC unroll 12
        for (int j = 0; j < W; ++j) {
            low[j] += left * points[j * d + t];
            high[j] += right * points[j * d + t];
        }
    }
    for (int j = 0; j < W; ++j) {
        *lanes(out[j]) = low[j];
        *lanes(out[j] + LANES) = high[j];
    }
}

// The same for as many centres as there are, at most W.
template <int W>
void score_up_to(int64_t count, const float* tile, const float* points, const float* norms, int64_t d,
                 float* const* out) {
    if (count >= W)
        score<W>(tile, points, norms, d, out);
    else if constexpr (W > 1)
        score_up_to<W - 1>(count, tile, points, norms, d, out);
}

// k-means of one class after the other. A column is one cluster of one restart.
template <class Real>
class Lloyd {
   public:
    explicit Lloyd(const Task& task) : task(task), d(task.d), k(task.k) {}

    void run(const Class<Real>& given) {
        one = given;
        begin();
        for (int64_t step = 0; step <= task.max_iter && !moved.empty(); ++step) {
            label();
            moved.clear();
            for (int64_t restart = 0; restart < task.restarts; ++restart) {
                if (running[restart]) running[restart] = move_centers(restart);
                if (step + 1 >= task.max_iter) running[restart] = false;
            }
            std::fill(touched.begin(), touched.end(), false);
        }
        keep(best());
    }

   private:
    const Task& task;
    const int64_t d, k;
    Class<Real> one;
    double limit, spread;                // of a shift that counts; sum of the squared norms of the rows
    std::vector<float> tiles;            // the rows, in tiles of (d, TILE)
    std::vector<float> slack;            // of a row, for the rounding of its scores
    std::vector<float> scores;           // in tiles of (columns, TILE)
    std::vector<float> points, norms;    // of the centres that moved: -2 centre, |centre|^2
    std::vector<Real> centers;           // (columns, d)
    std::vector<double> sums;            // (columns, d)
    std::vector<int64_t> counts, moved;  // rows of each column; the columns that moved, ascending
    std::vector<std::int32_t> labels;    // (restarts, count)
    std::vector<char> touched, running, lacked;  // columns whose rows changed; restarts; those that had empty clusters

    const Real* row(int64_t i) const { return one.rows + i * d; }

    void begin() {
        const int64_t padded = (one.count + TILE - 1) / TILE * TILE, columns = task.restarts * k;
        tiles.resize(padded * d);
        scores.resize(padded * columns);
        slack.resize(padded);
        centers.resize(columns * d);
        sums.assign(columns * d, 0.0);
        counts.assign(columns, 0);
        labels.assign(task.restarts * one.count, -1);
        touched.assign(columns, false);
        running.assign(task.restarts, true);
        lacked.assign(task.restarts, false);
        moved.clear();
        for (int64_t restart = 0; restart < task.restarts; ++restart)
            for (int64_t j = 0; j < one.clusters; ++j) {
                const int64_t column = restart * k + j;
                std::copy_n(row(one.starts[column]), d, &centers[column * d]);
                moved.push_back(column);
            }
        const double error = (d + 16) * double(std::numeric_limits<float>::epsilon());
        spread = 0;
        for (int64_t start = 0; start < padded; start += TILE) {
            const Real* from[TILE];
            for (int64_t i = 0; i < TILE; ++i) from[i] = row(std::min(start + i, one.count - 1));
            float* tile = &tiles[start * d];
            double squares[TILE] = {};
            for (int64_t t = 0; t < d; ++t)
                for (int64_t i = 0; i < TILE; ++i) {
                    const Real x = from[i][t];
                    tile[t * TILE + i] = float(x);
                    squares[i] += double(x) * x;
                }
            for (int64_t i = 0; i < TILE; ++i) {
                // Of the nearest centre and of the one that seems to be, |centre|^2 is at most 4 |x|^2 + 2 score.
                slack[start + i] = float(10 * error * squares[i]) + TINY;
                if (start + i < one.count) spread += squares[i];
            }
        }
        limit = task.tol * spread / double(one.count * d);
    }

    // Give each row the nearest centre where centres moved.
    void label() {
        points.resize(moved.size() * d);
        norms.resize(moved.size());
        for (size_t i = 0; i < moved.size(); ++i) {
            const Real* center = &centers[moved[i] * d];
            double square = 0;
#pragma omp simd reduction(+ : square)
            for (int64_t t = 0; t < d; ++t) {
                points[i * d + t] = -2 * float(center[t]);
                square += double(center[t]) * center[t];
            }
            norms[i] = float(square);
        }
        const int64_t columns = task.restarts * k;
        for (int64_t start = 0; start < one.count; start += TILE) {
            float* here = &scores[start * columns];
            score_tile(&tiles[start * d], here);
            int64_t last = -1;
            for (const int64_t column : moved) {
                const int64_t restart = column / k;
                if (restart != last) label_tile(here + restart * k * TILE, start, restart);
                last = restart;
            }
        }
    }

    void score_tile(const float* tile, float* here) const {
        for (int64_t j = 0; j < int64_t(moved.size()); j += WIDTH) {
            const int64_t count = std::min<int64_t>(WIDTH, moved.size() - j);
            float* out[WIDTH];
            for (int64_t part = 0; part < TILE; part += 2 * LANES) {
                for (int64_t i = 0; i < count; ++i) out[i] = here + moved[j + i] * TILE + part;
                score_up_to<WIDTH>(count, tile + part, &points[j * d], &norms[j], d, out);
            }
        }
    }

    void label_tile(const float* here, int64_t start, int64_t restart) {
        // A row near centre j alone has the code clusters + j; two near centres together have a larger one.
        const float more = float(1 + 4 * (d + 16) * double(std::numeric_limits<float>::epsilon()));
        std::int32_t codes[TILE];
        for (int64_t part = 0; part < TILE; part += LANES) {
            Lanes least = *lanes(here + part);
            for (int64_t j = 1; j < one.clusters; ++j) {
                const Lanes other = *lanes(here + j * TILE + part);
                least = other < least ? other : least;
            }
            const Lanes most = *lanes(&slack[start + part]) + more * least;
            auto code = least != least;  // zeros
            for (int64_t j = 0; j < one.clusters; ++j)
                code += (*lanes(here + j * TILE + part) <= most) & std::int32_t(one.clusters + j);
            for (int i = 0; i < LANES; ++i) codes[part + i] = code[i];
        }
        const std::int32_t clusters = std::int32_t(one.clusters);
        std::int32_t* own = &labels[restart * one.count + start];
        for (int64_t i = 0; i < std::min(TILE, one.count - start); ++i) {
            const std::int32_t found = codes[i] < 2 * clusters ? codes[i] - clusters : nearest(start + i, restart);
            if (found == own[i]) continue;
            add(start + i, restart * k + found, 1);
            if (own[i] >= 0) add(start + i, restart * k + own[i], -1);
            own[i] = found;
        }
    }

    // In float64; the first of equally near ones.
    std::int32_t nearest(int64_t i, int64_t restart) const {
        std::int32_t found = 0;
        double least = std::numeric_limits<double>::infinity();
        for (int64_t j = 0; j < one.clusters; ++j) {
            const double square = distance(i, restart * k + j);
            if (square < least) found = std::int32_t(j);
            least = std::min(least, square);
        }
        return found;
    }

    double distance(int64_t i, int64_t column) const {
        const Real *x = row(i), *center = &centers[column * d];
        double square = 0;
#pragma omp simd reduction(+ : square)
        for (int64_t t = 0; t < d; ++t) {
            const double apart = double(center[t]) - double(x[t]);
            square += apart * apart;
        }
        return square;
    }

    void add(int64_t i, int64_t column, int sign) {
        const Real* x = row(i);
        double* sum = &sums[column * d];
        for (int64_t t = 0; t < d; ++t) sum[t] += sign * double(x[t]);
        counts[column] += sign;
        touched[column] = true;
    }

    // Move the centres of the clusters of a restart whose rows changed to their means, and say whether to go on.
    bool move_centers(int64_t restart) {
        const int64_t first = restart * k, stop = first + one.clusters;
        if (std::count(touched.data() + first, touched.data() + stop, true) == 0) return false;
        const bool lacks = std::count(counts.data() + first + one.pinned, counts.data() + stop, 0) > 0;
        const bool all = lacks || lacked[restart];
        lacked[restart] = lacks;
        std::vector<double> means;
        if (lacks) means = served(restart);
        double total = 0;
        for (int64_t column = first + one.pinned; column < stop; ++column) {
            if (!all && !touched[column]) continue;
            const double share = 1.0 / double(std::max<int64_t>(1, counts[column]));
            Real* center = &centers[column * d];
            double shift = 0;
#pragma omp simd reduction(+ : shift)
            for (int64_t t = 0; t < d; ++t) {
                const Real mean = Real(lacks ? means[(column - first) * d + t] : sums[column * d + t] * share);
                const double change = double(center[t]) - double(mean);
                shift += change * change;
                center[t] = mean;
            }
            if (shift > 0) moved.push_back(column);
            total += shift;
        }
        return total > limit;
    }

    // The means when each empty cluster was given one of the rows farthest from their centres; labels follow later.
    std::vector<double> served(int64_t restart) const {
        const int64_t first = restart * k;
        const std::int32_t* own = &labels[restart * one.count];
        std::vector<double> means(&sums[first * d], &sums[first * d] + one.clusters * d), far(one.count);
        std::vector<int64_t> left(&counts[first], &counts[first] + one.clusters), order(one.count);
        for (int64_t i = 0; i < one.count; ++i) {
            order[i] = i;
            far[i] = distance(i, first + own[i]);
        }
        const int64_t empty = std::count(left.begin() + one.pinned, left.end(), 0);
        std::partial_sort(order.begin(), order.begin() + empty, order.end(), [&](int64_t a, int64_t b) {
            return far[a] != far[b] ? far[a] > far[b] : a < b;
        });
        auto taken = order.begin();
        for (int64_t j = one.pinned; j < one.clusters; ++j) {
            if (counts[first + j]) continue;
            const int64_t i = *taken++;
            if (far[i] == 0) continue;
            for (int64_t t = 0; t < d; ++t) {
                means[j * d + t] = row(i)[t];
                means[own[i] * d + t] -= row(i)[t];
            }
            left[j] = 1;
            --left[own[i]];
        }
        for (int64_t j = 0; j < one.clusters; ++j)
            for (int64_t t = 0; t < d; ++t) means[j * d + t] /= double(std::max<int64_t>(1, left[j]));
        const int64_t heaviest = std::max_element(left.begin(), left.end()) - left.begin();
        for (int64_t j = 0; j < one.clusters; ++j)
            if (!left[j]) std::copy_n(&means[heaviest * d], d, &means[j * d]);
        return means;
    }

    // The restart with the smallest inertia.
    int64_t best() const {
        std::vector<double> inertias;
        for (int64_t restart = 0; restart < task.restarts; ++restart) {
            double cross = 0;
            for (int64_t column = restart * k; column < restart * k + one.clusters; ++column)
#pragma omp simd reduction(+ : cross)
                for (int64_t t = column * d; t < (column + 1) * d; ++t)
                    cross += (sums[t] - 0.5 * double(centers[t]) * double(counts[column])) * double(centers[t]);
            inertias.push_back(spread - 2 * cross);
        }
        const double least = *std::min_element(inertias.begin(), inertias.end());
        const auto near = [&](double inertia) { return inertia <= least * (1 + EQUAL); };
        const auto first = std::find_if(inertias.begin(), inertias.end(), near);
        return first == inertias.end() ? 0 : first - inertias.begin();
    }

    void keep(int64_t restart) {
        *one.inertia = 0;
        for (int64_t i = 0; i < one.count; ++i) {
            one.labels[i] = labels[restart * one.count + i];
            *one.inertia += distance(i, restart * k + one.labels[i]);
        }
        for (int64_t j = 0; j < k; ++j) {
            if (j < one.clusters && counts[restart * k + j])
                std::copy_n(&centers[(restart * k + j) * d], d, one.centers + j * d);
            else
                std::fill_n(one.centers + j * d, d, std::numeric_limits<Real>::quiet_NaN());
        }
    }
};

template <class Real>
void cluster(const void* table, int64_t count, const Task& task, int threads) {
    const auto* classes = static_cast<const Class<Real>*>(table);
#pragma omp parallel num_threads(threads)
    {
        Lloyd<Real> lloyd(task);
#pragma omp for schedule(dynamic)
        for (int64_t c = 0; c < count; ++c) lloyd.run(classes[c]);
    }
}

}  // namespace

extern "C" void cluster_classes(const void* classes, int64_t count, int64_t d, int64_t restarts, int64_t k,
                                int64_t max_iter, double tol, int wide, int threads) {
    const Task task{d, restarts, k, max_iter, tol};
    (wide ? cluster<double> : cluster<float>)(classes, count, task, threads);
}
