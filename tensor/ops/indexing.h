#pragma once

#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// Moves along one axis by integer index. Data are of any dtype unless something is added, then
/// f32, f64 or bf16 (summed in f32); indices are i32. Where several sources meet in one element
/// they are added, or written, in ascending order: no atomics, one result for any number of
/// threads. Throws ShapeError, also for an index outside the axis where the device can tell: the
/// CPU does.

/// y[.., j, ..] = x[.., index[j], ..].   x (.., L, ..), index (K)  ->  (.., K, ..), in x's memory
/// order if that is channels last
Tensor index_select(const Tensor& x, int axis, const Tensor& index);
/// The same with indices of the host: what a cut keeps of an axis.
Tensor kept(const Tensor& x, int axis, const std::vector<int64_t>& keep);
/// dx (.., length, ..): dy's slices added at index, zero elsewhere.
Tensor index_select_grad(const Tensor& dy, int axis, const Tensor& index, int64_t length);

/// y = x[.., index[i], ..], element by element: y[i0, i1, i2] = x[i0, index[i0, i1, i2], i2] for
/// axis 1.   x and index of equal extents but along `axis`; y as index
Tensor gather(const Tensor& x, int axis, const Tensor& index);

/// x with src added, or written, where gather(., axis, index) would read; of several sources of
/// one element the last is written.   src as index; x and src of one dtype
Tensor scatter_add(const Tensor& x, int axis, const Tensor& index, const Tensor& src);
Tensor scatter(const Tensor& x, int axis, const Tensor& index, const Tensor& src);
/// u8, as index: 1 where that source of `scatter` is the one that was written.
Tensor scatter_winners(const Shape& x_shape, int axis, const Tensor& index);

/// (.., num_classes) f32: 1 at the label, else 0.   labels i32, any shape
Tensor one_hot(const Tensor& labels, int64_t num_classes);

/// x viewed as (outer, length, inner), an axis between what is before and behind it.
struct AxisExtent {
  int64_t outer, length, inner;
};
struct IndexingKernels {  // on contiguous tensors
  void (*select)(const Tensor& x, const AxisExtent& extent, const Tensor& index, Tensor& y);
  void (*select_grad)(const Tensor& dy, const Tensor& index, const AxisExtent& extent, Tensor& dx);
  void (*gather)(const Tensor& x, const AxisExtent& extent, const Tensor& index, Tensor& y);
  void (*scatter)(const Tensor& src, const Tensor& index, const AxisExtent& extent, Tensor& y);
  void (*scatter_add)(const Tensor& src, const Tensor& index, const AxisExtent& extent, Tensor& y);
  void (*winners)(const Tensor& index, const AxisExtent& extent, Tensor& y);
};
inline constinit PerDevice<IndexingKernels> indexing_kernels{"indexing"};

}  // namespace vtrain
