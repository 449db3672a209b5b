"""Callbacks for training libraries that report to Tune: Keras, XGBoost, LightGBM, Lightning. Each module needs its library."""
