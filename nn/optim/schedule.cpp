#include "nn/optim/schedule.h"

#include <algorithm>
#include <cmath>

#include "tensor/registry.h"
#include "tensor/str.h"

namespace vtrain {
namespace {

/// Linear warm-up from `warmup_lr`, then the shape of the schedule over the rest.
struct Common {
  double base_lr, epochs, warmup_epochs, warmup_lr, min_lr;
};

class Warmed : public Schedule {
 public:
  explicit Warmed(const Common& common) : c_(common) {}
  double lr(double epoch) const final {
    if (epoch < c_.warmup_epochs)
      return c_.warmup_lr + (c_.base_lr - c_.warmup_lr) * epoch / c_.warmup_epochs;
    return after_warmup(epoch);
  }

 protected:
  virtual double after_warmup(double epoch) const = 0;
  const Common c_;
};

/// min + (base - min) (1 + cos(pi t)) / 2, t from 0 to 1 after the warm-up. Loshchilov, Hutter,
/// arXiv:1608.03983, without restarts.
class Cosine final : public Warmed {
 public:
  Cosine(Recipe&, const Common& common) : Warmed(common) {}

 private:
  double after_warmup(double epoch) const override {
    const double t = std::clamp(
        (epoch - c_.warmup_epochs) / std::max(c_.epochs - c_.warmup_epochs, 1e-9), 0.0, 1.0);
    return c_.min_lr + (c_.base_lr - c_.min_lr) * 0.5 * (1 + std::cos(M_PI * t));
  }
};

/// The rate is multiplied by `factor` at each epoch of `drops`.
class StepDrops final : public Warmed {
 public:
  StepDrops(Recipe& r, const Common& common)
      : Warmed(common),
        drops_(r.reals("drops", {}, at_least(0), "epochs at which the rate drops")),
        factor_(
            r.real("factor", 0.1, in_open_low(0, 1), "what the rate is multiplied by at a drop")) {}

 private:
  double after_warmup(double epoch) const override {
    const auto passed =
        std::count_if(drops_.begin(), drops_.end(), [epoch](double drop) { return epoch >= drop; });
    return std::max(c_.min_lr, c_.base_lr * std::pow(factor_, static_cast<double>(passed)));
  }
  std::vector<double> drops_;
  double factor_;
};

class Constant final : public Warmed {
 public:
  Constant(Recipe&, const Common& common) : Warmed(common) {}

 private:
  double after_warmup(double) const override { return c_.base_lr; }
};

template <class S>
std::unique_ptr<Schedule> make(Recipe& r, const Common& common) {
  return std::make_unique<S>(r, common);
}
struct Entry {
  const char *name, *description;
  std::unique_ptr<Schedule> (*make)(Recipe&, const Common&);
};
constexpr Entry kSchedules[] = {{"cosine", "half a cosine from lr to min_lr", make<Cosine>},
                                {"step", "lr times factor at each epoch of drops", make<StepDrops>},
                                {"constant", "lr after the warm-up", make<Constant>}};

}  // namespace

std::unique_ptr<Schedule> read_schedule(Recipe sched, double base_lr, double epochs) {
  std::vector<std::string> names;
  for (const Entry& entry : kSchedules) names.emplace_back(entry.name);
  const std::string name =
      sched.choice("name", "cosine", names, "shape of the learning rate over the phase");
  const Common common{
      .base_lr = base_lr,
      .epochs = epochs,
      .warmup_epochs = sched.real("warmup_epochs", 0, at_least(0), "epochs of linear warm-up"),
      .warmup_lr =
          sched.real("warmup_lr", 1e-6, at_least(0), "rate at the first step of the warm-up"),
      .min_lr = sched.real("min_lr", 0, at_least(0), "floor of the rate")};
  if (common.warmup_epochs >= epochs && common.warmup_epochs > 0) {
    sched.fail("warmup_epochs", str("expected less than the phase's ", epochs, " epochs, got ",
                                    common.warmup_epochs));
  }
  for (const Entry& entry : kSchedules) {
    if (name == entry.name) return entry.make(sched, common);
  }
  return nullptr;
}

std::vector<ScheduleInfo> registered_schedules() {
  std::vector<ScheduleInfo> all;
  for (const Entry& entry : kSchedules)
    all.push_back({entry.name, entry.description, tree_path(__FILE__)});
  return all;
}

}  // namespace vtrain
