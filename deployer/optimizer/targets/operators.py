"""Which operators of ai.onnx the devices' runtimes implement: facts, each with its source and version.

A device whose runtime implements all of its opset has no table. Those of phones come with onnxruntime itself.
"""

_LISTS = {
    # onnxruntime-gpu 1.31.1: names of the kernels in its CUDA library, some compared with OperatorKernels.md
    "cuda": """
        Abs Add And ArgMax ArgMin Attention AveragePool BatchNormalization Cast Ceil Clip Compress
        Concat ConcatFromSequence Constant ConstantOfShape Conv ConvTranspose Cos CumSum DeformConv
        DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten
        Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool
        GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid HardSwish Identity If
        InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual
        LinearAttention Log LogSoftmax Loop LpNormalization LpPool MatMul MatMulInteger Max MaxPool
        MaxUnpool Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear
        RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
        Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
        ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign
        RotaryEmbedding Round Scan Scatter ScatterElements ScatterND Selu SequenceAt SequenceConstruct
        SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Shrink Sigmoid Sign Sin Size
        Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh TensorScatter
        ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
    """,
    # docs/operators.md of onnx-tensorrt for TensorRT 10.15
    "tensorrt": """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
        BatchNormalization BlackmanWindow Cast CastLike Ceil Celu Clip Concat Constant ConstantOfShape
        Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace DequantizeLinear Div Dropout Einsum
        Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
        GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample
        GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity If
        ImageScaler InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less
        LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul Max MaxPool Mean
        MeanVarianceNormalization Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu
        Pad ParametricSoftplus Pow QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike
        RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
        ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
        Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round STFT ScaledTanh Scan Scatter
        ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus
        Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh TensorScatter ThresholdedRelu Tile
        TopK Transpose Trilu Unsqueeze Upsample Where Xor
    """,
    # docs/OperatorKernels.md of onnxruntime, DmlExecutionProvider, main of 2026
    "directml": """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization
        BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Col2Im Concat
        ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh Crop
        CumSum DFT DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal
        Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool
        GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid Hardmax Identity If
        ImageScaler InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less
        LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool
        MaxUnpool Mean MeanVarianceNormalization Min Mod Mul Neg NonZero Not OneHot OptionalGetElement
        OptionalHasElement Or PRelu Pad ParametricSoftplus Pow QLinearConv QLinearMatMul
        QuantizeLinear RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
        ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence
        RoiAlign Round STFT ScaledTanh Scatter ScatterElements ScatterND Selu SequenceAt
        SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Shrink
        Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub
        Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
    """,
    # onnxruntime-migraphx 1.27.1: the list in its library
    "migraphx": """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
        BatchNormalization Cast Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvInteger
        ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear
        Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm
        GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid
        HardSwish Identity If InstanceNormalization LRN LSTM LayerNormalization LeakyRelu Less
        LessOrEqual Log LogSoftmax Loop LpNormalization MatMul MatMulInteger Max MaxPool Mean Min Mod
        Mul Multinomial Neg NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not OneHot Or PRelu
        Pad Pow QLinearConv QLinearMatMul QuantizeLinear RNN RandomNormal RandomNormalLike
        RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
        ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
        Reshape Resize ReverseSequence RotaryEmbedding Round Scatter ScatterElements ScatterND Selu
        Shape Sigmoid Sign Sin Sinh Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign
        SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu
        Unsqueeze Upsample Where Xor
    """,
    # onnxruntime-cann 1.24.4: the list of whole-graph mode in its library
    "cann": """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization
        BitShift Cast Ceil Celu Clip Compress Concat Constant ConstantOfShape Conv ConvTranspose Cos
        Cosh CumSum DepthToSpace Det Div Dropout Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather
        GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
        GreaterOrEqual HardSigmoid HardSwish Hardmax Identity InstanceNormalization LRN LSTM LeakyRelu
        Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool MaxRoiPool MaxUnpool
        Mean MeanVarianceNormalization Min Mod Mul Multinomial Neg NonMaxSuppression NonZero Not
        OneHot Or PRelu Pad Pow RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal
        ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
        ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round Scatter
        ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
        SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh
        TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Unsqueeze Where Xor
    """,
    # QNN-ExecutionProvider.md and the builders in onnxruntime-qnn 2.7.0
    "qnn": """
        Abs Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast Ceil Clip Concat Conv
        ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp Expand
        Flatten Floor Gather GatherElements Gelu Gemm GlobalAveragePool GlobalMaxPool Greater
        GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish InstanceNormalization LRN
        LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max
        MaxPool Min Mul Neg NonMaxSuppression Not Or PRelu Pad Pow QuantizeLinear RMSNormalization
        ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape
        Resize RoiAlign Round ScatterElements Sigmoid Sign Sin Slice Softmax Softplus SpaceToDepth
        Split Sqrt Squeeze Sub Tanh Tile TopK Transpose Unsqueeze Where
    """,
    # js/web/docs/webgpu-operators.md and the kernels in onnxruntime-ep-webgpu 0.4.0
    "webgpu": """
        Abs Acos Acosh Add ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
        BatchNormalization Cast CausalConvWithState Ceil Clip Concat Constant ConstantOfShape Conv
        ConvTranspose Cos Cosh CumSum DFT DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal
        Erf Exp Expand Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
        GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid HardSwish Identity If
        InstanceNormalization LSTM LayerNormalization LeakyRelu Less LessOrEqual LinearAttention Log
        LpNormalization MatMul Max MaxPool MaxUnpool Min Mul Neg Not PRelu Pad Pow RMSNormalization
        Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
        ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RotaryEmbedding ScatterElements
        ScatterND Shape Sigmoid Sin Sinh Slice Softmax Softplus Split Sqrt Squeeze Sub Tan Tanh
        ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where
    """,
    # RKNNToolKit2_OP_Support-v2.1.0.md; 2.5.0 compiles more than it lists
    "rknn": """
        Add And ArgMax ArgMin AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape
        Conv ConvTranspose Cos DepthToSpace DequantizeLinear Div Dropout Elu Equal Erf Exp Expand
        EyeLike Flatten Floor GRU Gather GatherElements Gemm GlobalAveragePool GlobalMaxPool Greater
        GreaterOrEqual HardSigmoid HardSwish Identity If InstanceNormalization LRN LSTM
        LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max
        MaxPool MaxRoiPool MaxUnpool MeanVarianceNormalization Min Mish Mod Mul PRelu Pad Pow
        QuantizeLinear ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Resize ReverseSequence
        RoiAlign ScatterND Shape Sigmoid Sin Size Slice Softmax Softplus SpaceToDepth Split Sqrt
        Squeeze Sub Tanh Tile Transpose Unsqueeze Where
    """,
}

TABLES: dict[str, frozenset[str]] = {name: frozenset(text.split()) for name, text in _LISTS.items()}
