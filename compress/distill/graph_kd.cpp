// Distillation of how the samples of a batch lie to each other. A student need not have a teacher's
// features, only their geometry, so no adapter stands between networks of different sizes.
//
// `relation: graph`: Lassance, Bontonou, Boukli Hacene, Gripon, Tang, Ortega, "Deep geometric
// knowledge distillation with graphs", ICASSP 2020, arXiv:1911.03080. X (N, d) is a feature of the
// batch, its rows divided by their lengths:
//   A = X X^T without its diagonal    D = row sums of A    A~ = D^(-1/2) A D^(-1/2)
//   L = CE + weight * mean over features of sum_ij (A~_S^p - A~_T^p)_ij^2
// p is a matrix power: paths of p edges. Before it both graphs can be reduced to pairs of one
// class, to pairs of two classes, or to the pairs of which one is among the k nearest of the other
// by the teacher's graph.
//
// `relation: rkd`: Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019,
// arXiv:1904.05068. d_ij is a distance of features, divided by the batch's mean of those above 0,
// and a_ijk the cosine of the angle at j between i and k:
//   L = CE + distance_weight * mean_ij huber(d_ij^S - d_ij^T)
//          + angle_weight * mean_ijk huber(a_ijk^S - a_ijk^T)
//
// Both are losses of a batch: their size depends on how many samples are compared, and with
// train.accum every batch has its own graph. Weights are those of the authors' stored runs (25) and
// of RepDistiller (25 and 50), which compares the pooled features alone.
//
// Where we differ: cosines of features below 0 can add up to a degree that has no root, so that
// such features are refused unless edges are absolute cosines; degrees are at least 1e-6; a feature
// of zeros has no edges; neighbours: N is no mask for any N, where the authors' code has it for
// 128.
#include <optional>

#include "autograd/arithmetic.h"
#include "compress/parts/feature.h"
#include "compress/parts/relations.h"
#include "compress/parts/soft_targets.h"
#include "compress/registry.h"
#include "tensor/ops/binary.h"

namespace vtrain {
namespace {

class GraphKd final : public Method {
 public:
  explicit GraphKd(Recipe& r)
      : teacher_(r.required_text("teacher", "a phase, a file, or self")),
        at_(r.texts("at", {}, "modules of the student whose outputs are compared")),
        teacher_at_(r.texts("teacher_at", at_,
                            "those of the teacher, one for each; "
                            "by default of the same names")),
        is_graph_(r.choice("relation", "graph", {"graph", "rkd"},
                           "graphs of cosines, or distances and angles") == "graph"),
        place_(str(r.where("teacher"), ": ", r.address())) {
    if (is_graph_) {
      weight_ = r.real("weight", 25, at_least(0), "weight of the graphs' distance");
      power_ = r.integer("power", 1, in(1, 8), "p, the matrix power that is compared");
      neighbours_ = r.maybe_integer("neighbours", at_least(1),
                                    "k, pairs that count by the teacher's graph; null: all");
      pairs_ = r.choice("pairs", "all", {"all", "intra", "inter"},
                        "all, those of one class, or those of two");
      if (r.choice("edges", "cosine", {"cosine", "absolute_cosine"},
                   "cosine asks for features that are nowhere below 0") == "absolute_cosine")
        edges_ = GraphEdges::kAbsoluteCosine;
    } else {
      distance_weight_ = r.real("distance_weight", 25, at_least(0), "weight of the distances");
      angle_weight_ = r.real("angle_weight", 50, at_least(0),
                             "weight of the angles; costs memory N^3, N the batch size");
    }
    if (at_.empty()) r.fail("at", "missing; expected paths of modules");
    if (teacher_at_.size() != at_.size())
      r.fail("teacher_at", str("expected one module for each of at (", at_.size(), "), got ",
                               teacher_at_.size()));
  }

  void attach(Run& run) override {
    if (weight_ == 0 && distance_weight_ == 0 && angle_weight_ == 0) return;
    if (pairs_ != "all" && run.mixes_images())
      throw RecipeError(str(place_, ".pairs: ", pairs_,
                            ": expected images of one class each, got aug.mixup or aug.cutmix in "
                            "phase ",
                            run.phase()));
    teach_ = &run.teacher(teacher_);
    for (size_t i = 0; i < at_.size(); ++i) {
      const Feature student = feature(run.net(), "at", at_[i]),
                    teacher = feature(teach_->network(), "teacher_at", teacher_at_[i]);
      teach_->watch(teacher.place);
      compared_.push_back({.student = run.tap(student.place), .teacher = teacher.place});
    }
  }

  void loss(Step& step) override {
    if (weight_ > 0)
      step.add_loss("graph",
                    weight_ * mean_over_features([&](const Variable& s, const Variable& t) {
                      return graph_loss(s, t, step);
                    }));
    if (distance_weight_ > 0)
      step.add_loss("distance", distance_weight_ * mean_over_features([](auto& s, auto& t) {
                                  return mean(huber(relative_distances(s) - relative_distances(t)));
                                }));
    if (angle_weight_ > 0)
      step.add_loss("angle", angle_weight_ * mean_over_features([](auto& s, auto& t) {
                               return mean(huber(angles(s) - angles(t)));
                             }));
  }

  void finish(Run& run) override {
    if (teach_ != nullptr) run.report("teacher", description_of(teach_->network()));
  }

 private:
  struct Compared {
    Tap student;
    std::string teacher;  // a place
  };

  Feature feature(Network& network, const char* key, const std::string& module) const {
    const std::string knob = str(place_, ".", key);
    Feature found = feature_at(network, module, knob);
    if (weight_ > 0 && edges_ == GraphEdges::kCosine && !found.is_rectified)
      throw RecipeError(str(knob, ": ", module, " of ", network.architecture().model,
                            " can be below 0; expected the output of a ReLU, or edges: "
                            "absolute_cosine"));
    return found;
  }

  template <class Loss>  // Variable (const Variable& student, const Variable& teacher)
  Variable mean_over_features(const Loss& loss) {
    Variable total;
    for (const Compared& c : compared_) {
      const Variable student = c.student.value(), teacher = teach_->value(c.teacher);
      const Variable one = loss(student, teacher);
      total = total.defined() ? total + one : one;
    }
    return total / static_cast<double>(compared_.size());
  }

  Variable graph_loss(const Variable& student, const Variable& teacher, const Step& step) const {
    const Variable s = batch_graph(student, edges_), t = batch_graph(teacher, edges_);
    return graph_distance(s, t, power_, mask(t.value(), step));
  }

  /// Undefined where all pairs count.
  Tensor mask(const Tensor& teacher_graph, const Step& step) const {
    Tensor mask;
    if (neighbours_) mask = nearest_pairs(teacher_graph, *neighbours_);
    if (pairs_ == "all") return mask;
    Tensor of_class = pairs_of_one_class(step.batch().labels, step.run().classes());
    if (pairs_ == "inter") of_class = add(multiply(of_class, -1), 1);
    return mask.defined() ? multiply(mask, of_class) : of_class;
  }

  std::string teacher_;
  std::vector<std::string> at_, teacher_at_;
  bool is_graph_;
  double weight_ = 0;
  int64_t power_ = 1;
  std::optional<int64_t> neighbours_;
  std::string pairs_ = "all";
  GraphEdges edges_ = GraphEdges::kCosine;
  double distance_weight_ = 0, angle_weight_ = 0;
  std::string place_;  // of the recipe section, for errors

  Teacher* teach_ = nullptr;
  std::vector<Compared> compared_;
};

const Registered<GraphKd> registered("graph_kd", "arXiv:1911.03080",
                                     "a student's batches get the geometry of a teacher's",
                                     ResultKind::kTrainingOnly);

}  // namespace
}  // namespace vtrain
