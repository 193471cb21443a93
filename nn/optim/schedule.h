#pragma once

#include <memory>
#include <string>
#include <vector>

#include "recipes/recipe.h"

namespace vtrain {

/// The learning rate as a function of the position in the phase: nothing to save.
class Schedule {
 public:
  virtual ~Schedule() = default;
  /// Factor on the base rate and floor are the schedule's own.   epoch  fractional, in [0, epochs)
  virtual double lr(double epoch) const = 0;
};

struct ScheduleInfo {
  std::string name, description, file;
};

/// Reads the `sched` group: its name chooses the schedule, warm-up is common to all.
std::unique_ptr<Schedule> read_schedule(Recipe sched, double base_lr, double epochs);
std::vector<ScheduleInfo> registered_schedules();

}  // namespace vtrain
