"""Parts of a scenario that are misspelt, out of range or do not go together."""

from __future__ import annotations

from tests.errors.making import CASES, TINY, edited, optioned, scenario

edited("part-option", "lr=0.05", "lr=0.05, local_epoch=2")
edited("part-missing", "rounds=3, ", "")
edited("part-type", "size=4", 'size="4"')
edited("part-range", "lr=0.05", "lr=-1")
edited("part-rounds", "rounds=3", "rounds=0")
edited("part-share", "malicious=0.25", "malicious=20")
edited("part-checkpoint", "evaluation=Evaluation(clients=5)", "checkpoint_every=0")
edited("part-evaluation", "Evaluation(clients=5)", "Evaluation(every=0)")
edited("part-name", 'name="tiny"', 'name="tiny/run"')
edited("cut-unknown", 'cut="V2"', 'cut="V9"')
edited("cut-missing", 'cut="V2"', "cut=None")
edited("cut-server-empty", 'cut="V2"', 'cut="fc2"')
edited("cut-no-tail", "SplitFedV2()", "SplitFedV2(u_shaped=True)")
edited("attack-nobody", "malicious=0.25),", "malicious=0),\n    attack=AgrTailored(),")
edited("attack-nobody-sampled", "malicious=0.25),", "malicious=0.1, of='cohort'),\n    attack=AgrTailored(),")
edited("attack-nobody-there", "malicious=0.25),", "malicious=0.009),\n    attack=AgrTailored(),")
edited("attack-nobody-acts", "size=4, malicious=0.25),", "size=1, malicious=0.05),\n    attack=AgrTailored(),")
edited("attack-no-channel", "SplitFedV2()", "SplitLearning(), attack=AgrTailored()")
edited("attack-too-late", "SplitFedV2()", "SplitFedV2(), attack=AgrTailored(start_round=9)")
edited("attack-class", "SplitFedV2()", "SplitFedV2(), attack=PixelBackdoor(target=62)")
edited("attack-trigger", "SplitFedV2()", "SplitFedV2(), attack=PixelBackdoor(target=0, trigger=Patch(28, 28))")
edited(
    "attack-pixels-of-texts",
    'femnist_cnn(cut="V2"),',
    'shakespeare_lstm(), pixels="bytes", attack=PixelBackdoor(target=0),',
)
edited(
    "attack-brightness-of-texts",
    'femnist_cnn(cut="V2"),',
    'shakespeare_lstm(), pixels="bytes", attack=SemanticBackdoor(Brightness(), target=0),',
)
edited("texts-are-no-pixels", 'femnist_cnn(cut="V2")', "shakespeare_lstm()")
CASES["texts-turned"] = lambda here: scenario(
    here,
    TINY.replace('femnist_cnn(cut="V2"),', 'shakespeare_lstm(), pixels="bytes",').replace(
        "synthetic_writers(writers=20, mean_samples=30, sd_samples=5)",
        "partitioned(synthetic_roles(), Iid(), clients=9, features=Rotations(4))",
    ),
)
edited("bag-uncut", 'femnist_cnn(cut="V2")', "bag_of_words(units=0)")
edited("vectors-missing", 'femnist_cnn(cut="V2")', 'sent140_lstm(embedding="glove.txt")')
edited("attack-no-goal", "clients=5", "clients=5, success_of=LabelFlip()")
edited("attack-two-starts", "SplitFedV2()", "SplitFedV2(), attack=Scheduled(AgrTailored(start_round=2))")
edited("attack-one-step", "SplitFedV2()", "SplitFedV2(), attack=SmashedAscent()")
edited(
    "attack-labels-stay",
    'model=femnist_cnn(cut="V2"),\n    protocol=SplitFedV2(),',
    'model=femnist_cnn(cut="V1", tail="fc2"),\n    protocol=SplitFedV2(u_shaped=True), attack=WireLabelFlip(),',
)
edited("gan-labels-travel", "SplitFedV2()", "SplitFedV2(), attack=GanAttack()")
edited("gan-nobody", "malicious=0.25),", "malicious=0),\n    attack=GanAttack(epsilon=1.0),")
edited("gan-dummy-range", "SplitFedV2()", "SplitFedV2(), attack=GanAttack(dummy=62, epsilon=1.0)")
edited("gan-dummy-target", "SplitFedV2()", "SplitFedV2(), attack=GanAttack(target=3, dummy=3, epsilon=1.0)")
edited("gan-dummy-last", "SplitFedV2()", "SplitFedV2(), attack=GanAttack(target=61, epsilon=1.0)")
edited(
    "gan-twice",
    "SplitFedV2()",
    "SplitFedV2(), attack=CompositeAttack((GanAttack(epsilon=1.0), GanAttack(target=1, epsilon=1.0)))",
)
edited("defense-no-channel", "SplitFedV2()", "SplitLearning(), defense=Median()")
edited("defense-no-replicas", "SplitFedV2()", "SplitFedV2(), server_defense=Median()")
edited("defense-replicas-published", "SplitFedV2()", "SplitFedV1(as_published='thapa2022'), server_defense=Median()")
edited("attack-no-replicas", "SplitFedV2()", "SplitFedV2(), attack=OnServerReplicas(SignFlip())")
edited("attack-portion-twice", "SplitFedV2()", "SplitFedV1(), attack=OnServerReplicas(OnServerReplicas(SignFlip()))")
edited("defense-trim", "SplitFedV2()", "SplitFedV2(), defense=TrimmedMean(f=2)")
edited("defense-too-late", "SplitFedV2()", "SplitFedV2(), defense=StartAtRound(Median(), start_round=9)")
edited("defense-twice", "SplitFedV2()", "SplitFedV2(), defense=StartAtRound(StartAtRound(Median(), 2), 3)")
edited("defense-root", "SplitFedV2()", "SplitFedV2(), defense=FLTrust((20,))")
edited("detection-replicas", "SplitFedV2()", "SplitFedV1(), detection=Detection((SmashedScreen(),))")
edited("detection-no-server", "SplitFedV2()", "FedAvg(), detection=Detection((SmashedScreen(),))")
edited("detection-turn", "SplitFedV2()", "MiniBatchSfl(), detection=Detection((SmashedScreen(),))")
edited(
    "detection-published",
    "SplitFedV2()",
    'SplitFedV2("client_major", as_published="slperf"), detection=Detection(rollback=SafeSplit())',
)
edited("detection-screen", "SplitFedV2()", "SplitFedV2('client_major'), detection=Detection((SafeSplit(),))")
edited("detection-order", "SplitFedV2()", "SplitFedV2(), detection=Detection(rollback=SafeSplit())")
edited(
    "detection-labels",
    'cut="V2"),\n    protocol=SplitFedV2()',
    'cut="V1", tail="conv2"),\n    protocol=SplitFedV2(u_shaped=True), detection=Detection((LabelScreen(),))',
)
edited("detection-empty", "SplitFedV2()", "SplitFedV2(), detection=Detection()")
edited("detection-at-nobody", "SplitFedV2()", "FedAvg(), detection=Detection(at_clients=(GradientsScrutinizer(),))")
edited(
    "detection-at-site",
    'cut="V2"),\n    protocol=SplitFedV2()',
    'cut="V1"),\n    protocol=VerticalSplit(), detection=Detection(at_clients=(SplitGuard(),))',
)
edited("detection-at-mean", "SplitFedV2()", "Sglr(), detection=Detection(at_clients=(SplitGuard(),))")
edited(
    "detection-at-published",
    "SplitFedV2()",
    "SplitFedV2('client_major', as_published='slperf'), detection=Detection(at_clients=(SplitGuard(),))",
)
edited("detection-at-whole-sets", "SplitFedV2()", "SplitFedV2(), detection=Detection(at_clients=(SplitOut(),))")
edited(
    "detection-at-few-samples",
    "lr=0.05),",
    "lr=0.05, batch_size=8),\n    detection=Detection(at_clients=(SplitOut(),)),",
)
edited("detection-at-share", "SplitFedV2()", "SplitFedV2(), detection=Detection(at_clients=(SplitOut(share=0),))")
edited(
    "attack-labels-unknown",
    'cut="V2"),\n    protocol=SplitFedV2()',
    'cut="V1", tail="conv2"),\n    protocol=SplitFedV2(u_shaped=True), attack=LabelAwareHijacking()',
)
edited("detection-range", "SplitFedV2()", "SplitFedV2(), detection=Detection((LabelScreen(threshold=0),))")
edited("cohort-too-large", "size=4", "size=21")
edited("cohort-poisson", "size=4", "size=4, draw=Poisson(0.5)")
edited("cohort-unreachable", "size=4", "size=4, at_least=5")
edited("cohort-dropouts", "size=4", "size=4, dropouts=Dropouts(10)")
edited("cohort-trace", "size=4", "size=4, available=TraceFile('there.csv')")
edited("state-travels", "lr=0.05", 'lr=0.05, client_state="travels"')
CASES["state-persistent"] = lambda here: scenario(
    here, TINY.replace("SplitFedV2()", "SplitFedV1()").replace("lr=0.05", 'lr=0.05, server_state="persistent"')
)
optioned("observe-channel", "--set", "observe=Observe(rounds=(1,), channels=('features',))")
optioned("observe-round", "--set", "observe=Observe(rounds=(9,))")
optioned("number-infinite", "--set", "training.lr=1e999")
