# %% [markdown]
# # Lab 13: Safety
#
# exercise markers first; the prose follows

# %%
# exercise: utils.align.scorers.toxicity_score points=4 minutes=12 difficulty=1
# exercise: utils.align.safety_data.filter_toxic points=4 minutes=12 difficulty=1
# exercise: utils.align.safety_data.build_safety_pairs points=5 minutes=18 difficulty=2
# exercise: utils.align.retrieval.retrieve points=6 minutes=20 difficulty=2
# exercise: utils.align.fact_check.check_facts points=5 minutes=15 difficulty=2
# exercise: utils.align.fact_check.answer_with_facts points=4 minutes=10 difficulty=1
