#include "compress/run.h"

namespace vtrain {

void Group::freeze(bool frozen) const {
  for (const Parameter& p : group_->parameters) p.freeze(frozen);
}

}  // namespace vtrain
