"""The papers that columns come from."""

AINSWORTH_2023 = "Ainsworth et al., Git Re-Basin: merging models modulo permutation symmetries (ICLR 2023)"
ANDRIUSHCHENKO_2023 = "Andriushchenko et al., A modern look at sharpness and generalization (ICML 2023)"
CARLINI_2019 = (
    "Carlini et al., The secret sharer: evaluating and testing unintended memorization in neural networks (USENIX Security "
    "2019)"
)
CARLINI_2023 = "Carlini et al., Quantifying memorization across neural language models (ICLR 2023)"
CHINTAKUNTA_2015 = "Chintakunta et al., An entropy-based persistence barcode (Pattern Recognition 2015)"
CLAUSET_2009 = "Clauset et al., Power-law distributions in empirical data (SIAM Review 2009)"
ENTEZARI_2022 = (
    "Entezari et al., The role of permutation invariance in linear mode connectivity of neural networks (ICLR 2022), "
    "definition 2.1"
)
FORET_2021 = "Foret et al., Sharpness-aware minimization (ICLR 2021)"
GHORBANI_2019 = (
    "Ghorbani et al., An investigation into neural net optimization via Hessian eigenvalue density (ICML 2019)"
)
GOLUB_2013 = "Golub and Van Loan, Matrix computations (4th edition 2013), section 10.1"
GUO_2017 = "Guo et al., On calibration of modern neural networks (ICML 2017)"
HU_2025 = "Hu et al., Eigenspectrum analysis of neural networks without aspect ratio bias (ICML 2025)"
JIANG_2020 = "Jiang et al., Fantastic generalization measures and where to find them (ICLR 2020)"
JIANG_2022 = "Jiang et al., Assessing generalization of SGD via disagreement (ICLR 2022)"
KORNBLITH_2019 = "Kornblith et al., Similarity of neural network representations revisited (ICML 2019)"
KOTHAPALLI_2024 = "Kothapalli et al., Crafting heavy-tails in weight matrix spectrum without gradient noise (2024)"
KWON_2021 = "Kwon et al., ASAM: adaptive sharpness-aware minimization (ICML 2021)"
LAKSHMINARAYANAN_2017 = (
    "Lakshminarayanan et al., Simple and scalable predictive uncertainty by deep ensembles (NeurIPS 2017)"
)
LIU_2020 = "Liu et al., Early-learning regularization prevents memorization of noisy labels (NeurIPS 2020)"
LI_2018 = "Li et al., Visualizing the loss landscape of neural nets (NeurIPS 2018)"
LU_2024_ALPHAPRUNING = "Lu et al., AlphaPruning (NeurIPS 2024)"
LU_2024_SHARPBALANCE = (
    "Lu et al., Sharpness-diversity tradeoff: improving flat ensembles with SharpBalance (NeurIPS 2024)"
)
MARTIN_2021_REGULARIZATION = "Martin and Mahoney, Implicit self-regularization in deep neural networks (JMLR 2021)"
MARTIN_2021_TRENDS = (
    "Martin et al., Predicting trends in the quality of state-of-the-art neural networks without access to "
    "training or testing data (Nature Communications 2021)"
)
MEYER_2021 = "Meyer et al., Hutch++: optimal stochastic trace estimation (SOSA 2021)"
ROY_2007 = "Roy and Vetterli, The effective rank (EUSIPCO 2007)"
SONG_2012 = "Song et al., Feature selection via dependence maximization (JMLR 2012)"
THEISEN_2023 = "Theisen et al., When are ensembles really effective? (NeurIPS 2023)"
UNTERTHINER_2020 = "Unterthiner et al., Predicting neural network accuracy from weights (2020)"
XIE_2024 = "Xie et al., Evaluating loss landscapes from a topology perspective (NeurIPS 2024 workshop)"
YANG_2021 = "Yang et al., Taxonomizing local versus global structure in neural network loss landscapes (NeurIPS 2021)"
YEOM_2018 = "Yeom et al., Privacy risk in machine learning (CSF 2018)"
ZHOU_2023 = "Zhou et al., Temperature balancing, layer-wise weight analysis, and neural network training (NeurIPS 2023)"
ZHOU_2024 = "Zhou et al., MD tree (ICML 2024)"
